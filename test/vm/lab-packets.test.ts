import { proveLabFiles } from './lab-files.ts';

/** Which packets, and how much of them: each once, what a filter takes, none past its end. */
proveLabFiles(['kernel/identity', 'kernel/filter-live', 'kernel/hostile', 'kernel/snap', 'kernel/targets']);
