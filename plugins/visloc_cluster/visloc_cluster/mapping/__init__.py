"""Maps of many images, built in parts: every stage is a set of tasks that any engine runs, and none runs twice."""
