map = { a = "one" }
