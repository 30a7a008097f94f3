import { type ChildProcess, spawn } from 'node:child_process';
import type { Server, Socket } from 'node:net';
import { messageOf } from '../../util/errors.ts';
import { siblingProgram } from '../machine/program.ts';
import { toolEnvironment } from '../machine/run.ts';

/**
 * Opens sockets inside other network namespaces: a socket stays in the namespace where it was made, so a small child
 * in that namespace makes it and hands it over. One child a namespace, started when first needed.
 */
export class NamespaceSockets {
  readonly #helpers = new Map<string, Helper>();

  /** A server listening in a namespace. */
  async listen(namespace: string, host: string, port: number): Promise<Server> {
    return (await this.#helper(namespace).ask({ type: 'listen', host, port })) as Server;
  }

  /** A connection made from inside a namespace; rejects with the reason as the kernel gave it. */
  async connect(namespace: string, host: string, port: number): Promise<Socket> {
    return (await this.#helper(namespace).ask({ type: 'connect', host, port })) as Socket;
  }

  /** Ends the children; sockets that were handed over stay. */
  close(): void {
    for (const helper of this.#helpers.values()) helper.child.kill('SIGKILL');
    this.#helpers.clear();
  }

  #helper(namespace: string): Helper {
    const present = this.#helpers.get(namespace);
    if (present !== undefined) return present;
    const helper = startHelper(namespace);
    this.#helpers.set(namespace, helper);
    // A namespace may be deleted and made again under the same name: the next request starts a child in the new one.
    helper.child.on('exit', () => this.#forget(namespace, helper));
    helper.child.on('error', () => this.#forget(namespace, helper));
    return helper;
  }

  #forget(namespace: string, helper: Helper): void {
    if (this.#helpers.get(namespace) === helper) this.#helpers.delete(namespace);
  }
}

interface Request {
  type: 'listen' | 'connect';
  host: string;
  port: number;
}

interface Answer {
  id: number;
  error?: string;
}

interface Helper {
  child: ChildProcess;
  ask(request: Request): Promise<unknown>;
}

function startHelper(namespace: string): Helper {
  const [node = '', ...rest] = siblingProgram(import.meta.url, './socket-helper.ts');
  const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, node, ...rest], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: toolEnvironment(),
  });
  const waiting = new Map<number, { resolve: (handle: unknown) => void; reject: (error: Error) => void }>();
  const failAll = (reason: string) => {
    for (const { reject } of waiting.values()) reject(new Error(reason));
    waiting.clear();
  };
  child.on('message', (answer: Answer, handle: unknown) => {
    const waiter = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.error === undefined) waiter?.resolve(handle);
    else waiter?.reject(new Error(answer.error));
  });
  child.on('exit', () => failAll(`the namespace ${namespace} cannot be entered`));
  child.on('error', (error) => failAll(messageOf(error)));
  let nextId = 0;
  return {
    child,
    ask: (request) =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, { resolve, reject });
        child.send({ id, ...request }, (error) => {
          if (error !== null) failAll(messageOf(error));
        });
      }),
  };
}
