// Starts Swagger UI on the page of the REST calls. A validator elsewhere on the net is not asked.
const calls = document.getElementById("calls");
SwaggerUIBundle({ url: calls.dataset.schema, domNode: calls, deepLinking: true, validatorUrl: null });
