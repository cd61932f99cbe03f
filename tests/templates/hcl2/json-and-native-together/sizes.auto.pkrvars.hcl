sizes = [20, 30]
