// The collection for publishes: everybody may create and read its records. The request log is off.
migrate((app) => {
  app.save(new Collection({
    type: 'base',
    name: 'messages',
    listRule: '',
    viewRule: '',
    createRule: '',
    fields: [
      { name: 'seq', type: 'number' },
      { name: 'at', type: 'number' },
      { name: 'pad', type: 'text', max: 500000 },
    ],
  }));

  const settings = app.settings();
  settings.logs.maxDays = 0;
  settings.rateLimits.enabled = false;
  app.save(settings);
}, (app) => {
  app.delete(app.findCollectionByNameOrId('messages'));
});
