// Errors with a message for the user.

export const GONE = 410; // status: the photo has been dropped

export class Failure extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}
