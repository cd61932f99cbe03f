regoin = "us-east-2"
whatever_else = ["x"]
