"""Whatever one attempt's handler yields becomes one well-formed Responses stream (PROTOCOL 5).

Pure: values in, values out. Reading order:

    kinds    the vocabulary of the stream            part    one stretch of streamed text
    plain    values from a handler's hands           item    one output item
    shapes   items as authors write them             ledger  all items of an attempt
    results  what an invoke handler returns          intake  a handler's events, family by family
    orphans  what earlier attempts left open         ending  usage, outcome, the terminal event
    response the response object                     retrace  an attempt that says the same again
