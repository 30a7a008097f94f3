import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

/** Of the NBD protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), what qemu needs of a server. */
const OPTION_MAGIC = Buffer.from('IHAVEOPT', 'latin1');
const GREETING = Buffer.concat([Buffer.from('NBDMAGIC', 'latin1'), OPTION_MAGIC, Buffer.from([0, 3])]);
const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
const REPLY_MAGIC = 0x67446698;
const OPT = { abort: 2, go: 7 } as const;
const REP = { ack: 1, info: 3, unsupported: 0x80000001 } as const;
const CMD = { read: 0, write: 1, disconnect: 2, flush: 3 } as const;
const FLAG_FUA = 1;
/** Has flags, takes flush, takes FUA. */
const EXPORT_FLAGS = 1 | 4 | 8;
/** What a disk writes whole or not at all. */
const PIECE_BYTES = 4096;

interface Write {
  at: number;
  data: Buffer;
}

/**
 * A disk with a volatile cache, as a server that qemu takes for one: what the guest has not flushed is read back while there is power, and when it goes any
 * part of that may be lost, in pieces of 4 KiB.
 */
export class VolatileDisk {
  /** Pieces that were cached when power went, and those of them that were lost. */
  readonly cut = { cached: 0, lost: 0 };
  readonly #server: Server;
  /** With what is in the cache, and without. */
  readonly #seen: Buffer;
  readonly #kept: Buffer;
  #cached: Write[] = [];
  #cutAtFlush: { isLost: () => boolean; gone: () => void } | undefined;

  static async start(path: string, sizeBytes: number): Promise<VolatileDisk> {
    const disk = new VolatileDisk(sizeBytes);
    disk.#server.listen(path);
    await once(disk.#server, 'listening');
    return disk;
  }

  private constructor(sizeBytes: number) {
    this.#seen = Buffer.alloc(sizeBytes);
    this.#kept = Buffer.alloc(sizeBytes);
    this.#server = createServer((socket) => {
      this.#serve(socket).catch(() => socket.destroy());
    });
  }

  /**
   * Power goes at the worst moment: when the guest next asks for what is cached to be kept. `isLost` says of each piece whether it is lost; `gone` is called
   * when it has happened.
   */
  cutPowerAtFlush(isLost: () => boolean, gone: () => void): void {
    this.#cutAtFlush = { isLost, gone };
  }

  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(socket: Socket): Promise<void> {
    const input = new Input(socket);
    socket.write(GREETING);
    await input.take(4);
    if (!(await this.#negotiate(socket, input))) return void socket.end();
    for (;;) {
      const request = await input.take(28);
      const [flags, type, length] = [request.readUInt16BE(4), request.readUInt16BE(6), request.readUInt32BE(24)];
      const at = Number(request.readBigUInt64BE(16));
      if (type === CMD.disconnect) return void socket.end();
      if (type === CMD.write) {
        const data = Buffer.from(await input.take(length));
        data.copy(this.#seen, at);
        this.#cached.push({ at, data });
      }
      if (type === CMD.flush || (flags & FLAG_FUA) !== 0) {
        const power = this.#cached.length > 0 ? this.#cutAtFlush : undefined;
        if (power !== undefined) {
          this.#cutAtFlush = undefined;
          this.#cutPower(power.isLost);
          power.gone();
          return void socket.destroy();
        }
        this.#flush();
      }
      const reply = Buffer.alloc(16);
      reply.writeUInt32BE(REPLY_MAGIC, 0);
      request.copy(reply, 8, 8, 16);
      socket.write(reply);
      if (type === CMD.read) socket.write(Buffer.from(this.#seen.subarray(at, at + length)));
    }
  }

  /** Answers options until the client wants to go on with the disk; false: it does not. */
  async #negotiate(socket: Socket, input: Input): Promise<boolean> {
    for (;;) {
      const head = await input.take(16);
      const option = head.readUInt32BE(8);
      await input.take(head.readUInt32BE(12));
      const reply = (type: number, data = Buffer.alloc(0)): void => {
        const bytes = Buffer.alloc(20);
        bytes.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
        bytes.writeUInt32BE(option, 8);
        bytes.writeUInt32BE(type, 12);
        bytes.writeUInt32BE(data.length, 16);
        socket.write(Buffer.concat([bytes, data]));
      };
      if (option === OPT.go) {
        const info = Buffer.alloc(12);
        info.writeBigUInt64BE(BigInt(this.#seen.length), 2);
        info.writeUInt16BE(EXPORT_FLAGS, 10);
        reply(REP.info, info);
        reply(REP.ack);
        return true;
      }
      reply(option === OPT.abort ? REP.ack : REP.unsupported);
      if (option === OPT.abort) return false;
    }
  }

  #cutPower(isLost: () => boolean): void {
    for (const { at, data } of this.#cached) {
      for (let piece = 0; piece < data.length; piece += PIECE_BYTES) {
        this.cut.cached += 1;
        if (isLost()) this.cut.lost += 1;
        else data.copy(this.#kept, at + piece, piece, piece + PIECE_BYTES);
      }
    }
    this.#cached = [];
    this.#kept.copy(this.#seen);
  }

  #flush(): void {
    for (const { at, data } of this.#cached) data.copy(this.#kept, at);
    this.#cached = [];
  }
}

/** What a socket brings, so many bytes at a time. */
class Input {
  readonly #chunks: AsyncIterator<Buffer>;
  #left: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async take(length: number): Promise<Buffer> {
    const chunks = [this.#left];
    let have = this.#left.length;
    while (have < length) {
      const { value, done } = await this.#chunks.next();
      if (done === true) throw new Error('The connection has ended');
      chunks.push(value);
      have += value.length;
    }
    const all = Buffer.concat(chunks);
    this.#left = all.subarray(length);
    return all.subarray(0, length);
  }
}
