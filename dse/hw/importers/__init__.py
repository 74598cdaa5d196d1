"""Hardware descriptions of other tools: what their files say, and what of it our form can say."""
