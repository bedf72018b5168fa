"""The odometry error model: noise that grows along the path, a rotation scale error, and the path's history."""
