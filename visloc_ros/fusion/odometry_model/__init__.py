"""How odometry errs: noise that grows along the path, a rotation scale error, and the history to compute them from."""
