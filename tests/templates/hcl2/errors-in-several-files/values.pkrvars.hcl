name = "x" "y"
