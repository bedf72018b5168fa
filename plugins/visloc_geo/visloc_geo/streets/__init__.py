"""Where to look for views: an area, its streets by OpenStreetMap, and points along them."""
