import { fileURLToPath } from 'node:url';

/** The BPF object that was built with this ktrace, beside `src/` or `dist/`. */
export function defaultObject(): string {
  return fileURLToPath(new URL('../../../build/bpf/ktrace.bpf.o', import.meta.url));
}
