"""What results are worth: counts of hits beside their controls, predictions with their intervals, the paper's own."""
