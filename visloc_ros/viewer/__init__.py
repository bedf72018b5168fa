"""Maps, trajectories and meshes in the browser (viser)."""
