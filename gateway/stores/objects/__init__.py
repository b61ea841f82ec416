"""Picture bytes in a directory or an S3 bucket (`GATEWAY_ASSET_STORE`)."""
