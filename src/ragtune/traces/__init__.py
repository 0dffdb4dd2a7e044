"""What was asked of a served project and what came of it: traces, feedback and the queue of what a person should look at."""
