"""The pose of a photo from its matches with geotagged views: geometry alone, without images."""
