/** What the agents said of packets that they did not tell because less was captured than the filter reads. */
export class Undecided {
  /** Of streams that are over. */
  #before = 0;
  readonly #packets = new Map<string, number>();
  #wantsBytes = 0;

  /** The node counts from the beginning. */
  begins(node: string): void {
    this.#before += this.#packets.get(node) ?? 0;
    this.#packets.delete(node);
  }

  told(node: string, packets: number, wantsBytes: number): void {
    this.#packets.set(node, packets);
    this.#wantsBytes = Math.max(this.#wantsBytes, wantsBytes);
  }

  /** Together with those that the client could not decide. */
  sum(undecided: number, wantsBytes: number): { packets: number; wantsBytes: number } {
    const told = [...this.#packets.values()].reduce((sum, packets) => sum + packets, this.#before);
    return { packets: told + undecided, wantsBytes: Math.max(this.#wantsBytes, wantsBytes) };
  }
}
