import { spawn, spawnSync } from 'node:child_process';
import { EXIT } from '../util/errors.ts';
import { ktraceCommand, ktraceEnvironment } from './agents.ts';
import type { Lab } from './lab.ts';
import { labUp } from './up.ts';

/**
 * The demo: a lab, `ktrace follow` of all pods, or with the given arguments, in it through the code that a cluster would see, and the
 * end of both. Data of the follow goes to stdout, all talk to stderr.
 *
 * @param argv what follows `npm run demo --`, e.g. `--for 20s -o json`
 * @returns the exit code: follow's own; an interrupt is a normal end
 */
export async function runDemo(argv: readonly string[]): Promise<number> {
  const said = answerTo(argv);
  if (said !== undefined) return said;
  const say = (text: string) => void process.stderr.write(`demo: ${text}\n`);
  let isInterrupted = false;
  let interruptFollow: (() => void) | undefined;
  const onSignal = () => {
    isInterrupted = true;
    interruptFollow?.();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  let lab: Lab | undefined;
  try {
    lab = await labUp({ name: `demo${process.pid}`, bound: true, progress: say });
    if (isInterrupted) return EXIT.ok;
    say('following; end with Ctrl-C');
    const code = await follow(lab, argv, (interrupt) => {
      interruptFollow = interrupt;
    });
    return isInterrupted && code === EXIT.interrupted ? EXIT.ok : code;
  } finally {
    interruptFollow = undefined;
    await lab?.down();
    if (lab !== undefined) say('the lab is taken down');
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/** What a follow says of arguments that it does not understand, or to --help, with its exit code; then no lab is needed. It looks at them before its kubeconfig. */
function answerTo(argv: readonly string[]): number | undefined {
  const { status, stdout, stderr } = spawnSync(ktraceCommand(), followWords('/nowhere', argv), { env: followEnvironment() });
  if (status !== EXIT.ok && status !== EXIT.usage) return undefined;
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  return status;
}

function followWords(kubeconfig: string, argv: readonly string[]): string[] {
  // A pod that is named stands in the lab's one namespace.
  const isNamed = argv.some((word) => /^[a-z]+\//.test(word));
  return ['follow', ...(isNamed ? [] : ['-A']), '--kubeconfig', kubeconfig, ...argv];
}

function followEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, ...ktraceEnvironment() };
}

function follow(lab: Lab, argv: readonly string[], onStart: (interrupt: () => void) => void): Promise<number> {
  const child = spawn(ktraceCommand(), followWords(lab.kubeconfig, argv), {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: followEnvironment(),
    // Its own group: Ctrl-C reaches it once, from here, and it can print its summary before the lab goes.
    detached: true,
  });
  onStart(() => child.kill('SIGINT'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // A follow that is interrupted before it listens for that ends by the signal itself.
    child.on('close', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? EXIT.interrupted : EXIT.failure)));
  });
}
