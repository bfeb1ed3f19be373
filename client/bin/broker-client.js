#!/usr/bin/env node
import { text } from 'node:stream/consumers';
import { main } from '../dist/cli/index.js';

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  input: () => text(process.stdin),
  say: (words) => process.stdout.write(words),
  tell: (line) => process.stderr.write(`${line}\n`),
});
