"""Programs for users: the command line, the demo, processes of nodes, replays."""
