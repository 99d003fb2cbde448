"""What calls of every face share: their context, their answers when all or nothing is answered, what they are told of ends."""
