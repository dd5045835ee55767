"""What the HTML page is made of: its words, its chart, the packed readings and the assembly."""
