"""Geolocation: how exact, how robust, how fast."""
