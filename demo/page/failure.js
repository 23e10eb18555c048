// What went wrong, in a sentence for the person.

export const GONE = 410; // the status of a photo that is known no more

export class Failure extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}
