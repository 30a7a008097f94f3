/** A second signal this soon is the terminal's and the launcher's telling of the same key. */
const ECHO_MS = 1000;

/** Aborted at the first SIGINT, SIGTERM or SIGHUP; who insists ends the process at once. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  let firstAtMs = 0;
  const stop = (): void => {
    if (!controller.signal.aborted) {
      firstAtMs = performance.now();
      controller.abort();
    } else if (performance.now() - firstAtMs > ECHO_MS) process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  return controller.signal;
}
