// Errors with a message for the user.

export const GONE = 410; // the status of a photo that the server has dropped

export class Failure extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}
