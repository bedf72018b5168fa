"""What people run: the command line, the demo, processes of nodes, replays."""
