// What a page downloads, minified and gzipped. KB are 1,000 bytes.

/** As the bundlers of pages do: ES modules stay such. */
const modifyEsbuildConfig = (config) => ({ ...config, format: 'esm', logLevel: 'error' });
const check = (name, path, imports, limit, ignore) => ({ name, path, import: imports, limit, ignore, gzip: true, modifyEsbuildConfig });

export default [
  // The other transports are loaded where the first does not work.
  check('core', 'dist/index.js', '{ createClient }', '10.45 KB', ['./shared/xhr-*', './shared/websocket-*', './shared/eventsource-*']),
  check('core with all transports', 'dist/index.js', '{ createClient }', '11.35 KB'),
  check('outbox, with the core left out', 'dist/outbox/index.js', '{ createOutbox }', '4.1 KB', ['../shared/*']),
  check('outbox and cache, with the core left out', 'dist/outbox/index.js', '*', '4.5 KB', ['../shared/*']),
  check('react, with React left out', 'dist/react/index.js', '*', '2.5 KB', ['react']),
  check('compat', 'dist/compat/index.js', '*', '2.5 KB'),
];
