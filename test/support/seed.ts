/** What is generated is the same in every run, so that each gives the same result; KTRACE_TEST_SEED=N tries something else. */
export const SEED = Number(process.env['KTRACE_TEST_SEED'] ?? 20_261_128);
