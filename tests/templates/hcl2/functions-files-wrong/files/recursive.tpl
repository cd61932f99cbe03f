hello ${templatefile("files/names.tpl", { name = "x" })}
