package main

import "encoding/json"

// applicationSchema says what an application looks like; the host refuses one
// that doesn't before anything runs. Numbers are left to the condition, which
// gives codes of its own.
var applicationSchema = json.RawMessage(`{
	"type": "object",
	"required": ["loan_id", "borrower", "principal", "currency", "rate", "start", "months"],
	"additionalProperties": false,
	"properties": {
		"loan_id": {"type": "string", "minLength": 1, "maxLength": 64},
		"borrower": {
			"type": "object",
			"required": ["name", "country"],
			"additionalProperties": false,
			"properties": {
				"name": {"type": "string", "minLength": 1},
				"country": {"type": "string", "pattern": "^[A-Z]{2}$", "description": "ISO 3166-1"}
			}
		},
		"principal": {"type": "integer", "description": "in the currency's smallest unit"},
		"currency": {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217"},
		"rate": {"type": "string", "pattern": "^[0-9]{1,2}(\\.[0-9]{1,4})?$", "description": "yearly, percent"},
		"start": {"type": "string", "format": "date"},
		"months": {"type": "integer"}
	}
}`)

// termsSchema says what other contracts can rely on when they read the record.
var termsSchema = json.RawMessage(`{
	"type": "object",
	"required": ["loan_id", "borrower", "principal", "currency", "rate", "start", "maturity", "months"],
	"properties": {
		"principal": {"type": "integer", "minimum": 1},
		"currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
		"start": {"type": "string", "format": "date"},
		"maturity": {"type": "string", "format": "date"},
		"months": {"type": "integer", "minimum": 1}
	}
}`)
