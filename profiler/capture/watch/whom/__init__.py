"""Who is watched: what targets mean, whose clients commands are, and whom they wait for."""
