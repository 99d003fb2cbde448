"""The ground floor: helpers of one topic each, which import no app."""
