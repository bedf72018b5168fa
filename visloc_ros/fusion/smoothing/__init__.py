"""Nonlinear least squares over camera states: factor graph, normal equations, fixed-lag and batch smoother."""
