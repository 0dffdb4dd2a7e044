"""What everything hosted shares, chat models and embedders alike: who serves what, what a refusal means, what was spent, patience."""
