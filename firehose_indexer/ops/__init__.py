"""What an operator sees and asks: the console of a running job, the doctor, the generated pages."""
