"""Where views come from: own photos, and services that publish views of streets."""
