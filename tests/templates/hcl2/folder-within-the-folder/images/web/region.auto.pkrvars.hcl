nothing_here = 1
