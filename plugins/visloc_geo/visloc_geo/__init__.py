"""Where on the earth a photo was taken, found in geotagged views of streets, without a built map."""

__version__ = "0.1.0"
