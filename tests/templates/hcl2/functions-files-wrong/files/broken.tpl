hello ${name
