"""What a machine is: declared as data, checked, explored, executed."""
