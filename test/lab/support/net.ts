import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';

const PREFIX = 'ktt';

/** Network namespaces of a test, joined by veths, with what runs in them; all of it goes with `close()`, in reverse order. */
export class Net {
  readonly #name = `${PREFIX}${process.pid}-${randomBytes(3).toString('hex')}-`;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];

  constructor() {
    removeStale();
  }

  /** Name of a namespace as `ip -n` takes it. */
  of(name: string): string {
    return this.#name + name;
  }

  /** Adds namespaces that forward packets. */
  add(...names: string[]): void {
    for (const name of names) {
      ip('netns', 'add', this.of(name));
      this.#namespaces.push(this.of(name));
      ip('-n', this.of(name), 'link', 'set', 'lo', 'up');
      this.exec(
        name,
        'sysctl',
        '-qw',
        'net.ipv4.ip_forward=1',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
      );
    }
  }

  /** Joins two namespaces by a veth; `ends` are `[namespace, interface, address/length]`. */
  join(...ends: [[string, string, string], [string, string, string]]): void {
    const [[a, nameA], [b, nameB]] = ends;
    ip('link', 'add', nameA, 'netns', this.of(a), 'type', 'veth', 'peer', 'name', nameB, 'netns', this.of(b));
    for (const [namespace, name, address] of ends) {
      ip('-n', this.of(namespace), 'addr', 'add', address, 'dev', name);
      ip('-n', this.of(namespace), 'link', 'set', name, 'up');
    }
  }

  /** `ip ARGS` inside; several commands apart by `;`. */
  ip(name: string, commands: string): void {
    for (const command of commands.split(';')) ip('-n', this.of(name), ...command.trim().split(/\s+/));
  }

  /** Runs a command to its end; throws when it fails. */
  exec(name: string, ...argv: string[]): string {
    return execFileSync('nsenter', [`--net=/run/netns/${this.of(name)}`, ...argv], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 20_000,
    });
  }

  /** Runs a command line of the shell; true when it succeeded. Bash: it speaks TCP and UDP by itself (`/dev/tcp/…`). */
  try(name: string, line: string): boolean {
    try {
      this.exec(name, 'bash', '-c', line);
      return true;
    } catch {
      return false;
    }
  }

  /** Starts a process, with a channel for messages. */
  spawn(name: string, argv: readonly string[], env: Record<string, string> = {}): ChildProcess {
    const child = spawn('nsenter', [`--net=/run/netns/${this.of(name)}`, ...argv], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, ...env },
    });
    this.#children.push(child);
    return child;
  }

  /** Serves TCP on 8080 and UDP on 5353 there: what is received is sent back. */
  async serve(name: string): Promise<void> {
    const script = `require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(8080, () => {
      const socket = require('node:dgram').createSocket('udp4', (bytes, from) => socket.send(bytes, from.port, from.address));
      socket.bind(5353, () => process.send('ready'));
    });`;
    const child = this.spawn(name, [process.execPath, '-e', script]);
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`the server in ${name} ended with ${code}`)));
    });
  }

  close(): void {
    for (const child of this.#children.reverse()) child.kill('SIGKILL');
    for (const namespace of this.#namespaces.reverse()) ip('netns', 'del', namespace);
  }
}

/**
 * Two nodes, `node1` with pods (of `pods`, two numbers) `a` (10.9.1.2, veth-a) and `b` (10.9.1.3, veth-b), `node2` with pod `c` (10.9.2.2, veth-c), joined by their
 * uplinks eth0 (192.168.77.1 and .2).
 */
export function twoNodes(pods = '10.9'): Net {
  const net = new Net();
  try {
    net.add('node1', 'node2', 'a', 'b', 'c');
    net.join(['node1', 'eth0', '192.168.77.1/24'], ['node2', 'eth0', '192.168.77.2/24']);
    for (const [node, pod, address, gateway] of [
      ['node1', 'a', `${pods}.1.2`, `${pods}.1.254`],
      ['node1', 'b', `${pods}.1.3`, `${pods}.1.253`],
      ['node2', 'c', `${pods}.2.2`, `${pods}.2.254`],
    ] as const) {
      net.join([node, `veth-${pod}`, `${gateway}/32`], [pod, 'eth0', `${address}/32`]);
      net.ip(node, `route add ${address} dev veth-${pod}`);
      net.ip(pod, `route add ${gateway} dev eth0; route add default via ${gateway}`);
    }
    net.ip('node1', `route add default via 192.168.77.2; route add ${pods}.2.0/24 via 192.168.77.2`);
    net.ip('node2', `route add default via 192.168.77.1; route add ${pods}.1.0/24 via 192.168.77.1`);
    return net;
  } catch (error) {
    net.close();
    throw error;
  }
}

/** `node1` with pods a, b and d (10.244.1.2 to .4), `node2` with pod c (10.244.2.2), as flannel joins them: bridge cni0, VXLAN flannel.1, uplink eth0. */
export function bridgedNodes(): Net {
  const net = new Net();
  try {
    net.add('node1', 'node2', 'a', 'b', 'c', 'd');
    net.join(['node1', 'eth0', '192.168.78.1/24'], ['node2', 'eth0', '192.168.78.2/24']);
    for (const [n, pods] of [
      [1, ['a', 'b', 'd']],
      [2, ['c']],
    ] as const) {
      const node = `node${n}`;
      const peer = 3 - n;
      net.ip(node, `link add cni0 type bridge; addr add 10.244.${n}.1/24 dev cni0; link set cni0 up`);
      for (const [at, pod] of pods.entries()) {
        net.join([node, `veth-${pod}`, '0.0.0.0/0'], [pod, 'eth0', `10.244.${n}.${at + 2}/24`]);
        net.ip(node, `link set veth-${pod} master cni0 mtu 1450`);
        net.ip(pod, `link set eth0 mtu 1450; route add default via 10.244.${n}.1`);
      }
      net.ip(
        node,
        `link add flannel.1 address 0a:00:00:00:00:0${n} type vxlan id 1 dev eth0 local 192.168.78.${n} dstport 8472 nolearning; addr add 10.244.${n}.0/32 dev flannel.1; link set flannel.1 up; neigh add 10.244.${peer}.0 lladdr 0a:00:00:00:00:0${peer} dev flannel.1; route add 10.244.${peer}.0/24 via 10.244.${peer}.0 dev flannel.1 onlink`,
      );
      net.ip(node, `route add default via 192.168.78.${peer}`);
      net.exec(node, 'bridge', 'fdb', 'add', `0a:00:00:00:00:0${peer}`, 'dev', 'flannel.1', 'dst', `192.168.78.${peer}`);
      net.exec(node, 'sysctl', '-qw', 'net.bridge.bridge-nf-call-iptables=1');
    }
    return net;
  } catch (error) {
    net.close();
    throw error;
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Namespaces whose test did not live to remove them. */
function removeStale(): void {
  if (!existsSync('/run/netns')) return;
  for (const namespace of readdirSync('/run/netns')) {
    const owner = new RegExp(`^${PREFIX}(\\d+)-`).exec(namespace)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) ip('netns', 'del', namespace);
  }
}
