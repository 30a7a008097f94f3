import { proveLabFiles } from './lab-files.ts';

/** What is told of packets. */
proveLabFiles(['kernel/parse', 'kernel/nat', 'kernel/errors', 'kernel/drops']);
