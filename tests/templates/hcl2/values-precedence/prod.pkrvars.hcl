of_file  = "first file"
of_file2 = "first file"
of_var   = "first file"
