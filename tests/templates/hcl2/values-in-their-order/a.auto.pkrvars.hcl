size = 2
team = "auto"
