-- types: how the text of a column is read. Each macro gives the typed value, or NULL where the text is no such value.
--
-- why: every refusal of a value is decided here, and nothing is rounded or wrapped on the way in.
--      The engine's own casts accept too much ('epoch', a seventh decimal, hour 24), so a pattern comes first.

-- A zero byte stands where a disk or a transfer lost what was written.
create or replace macro has_zero_byte(written) as contains(written, chr(0));

create or replace macro as_text(written) as case when not has_zero_byte(written) then nullif(written, '') end;

create or replace macro as_choice(written, choices) as case when list_contains(choices, written) then written end;

create or replace macro as_time_zone(written) as as_choice(written, getvariable('time_zones'));

create or replace macro as_whole_number(written) as
case when regexp_full_match(written, '[0-9]{1,18}(\.0)?') then cast(split_part(written, '.', 1) as bigint) end;

create or replace macro as_flag(written) as
case lower(written) when 'true' then true when 'false' then false end;

-- The form in which programs write small and large doubles: 1e-05, 1.5E+3. A DECIMAL(38, 25) holds these exactly.
create or replace macro as_scientific(written) as
case
    when regexp_full_match(written, '[+-]?0(\.0{1,18})?[eE][+-]?[0-9]{1,3}') then cast(0 as decimal(38, 25))
    when regexp_full_match(written, '[+-]?[0-9](\.[0-9]{1,18})?[eE](\+?(0?[0-9]|1[01])|-0?[1-6])')
        then cast(written as decimal(38, 25))
end;

create or replace macro as_quantity(written) as
case
    when regexp_full_match(written, '[+-]?(0*[0-9]{1,12}(\.[0-9]{0,6}0*)?|\.[0-9]{1,6}0*)')
        then cast(written as decimal(18, 6))
    when as_scientific(written) % 0.000001 = 0 then cast(as_scientific(written) as decimal(18, 6))
end;

create or replace macro as_amount(written) as
case
    when regexp_full_match(written, '[+-]?(0*[0-9]{1,12}(\.[0-9]{0,4}0*)?|\.[0-9]{1,4}0*)')
        then cast(written as decimal(20, 4))
    when as_scientific(written) % 0.0001 = 0 then cast(as_scientific(written) as decimal(20, 4))
end;

-- A number of a type without rounding, where it fits.
create or replace macro fitting_quantity(number) as try_cast(number as decimal(18, 6));
create or replace macro fitting_whole_number(number) as try_cast(number as bigint);

-- The same as a cast while the session's time zone is UTC, at a tenth of its cost.
create or replace macro of_utc(instant) as make_timestamptz(epoch_us(instant));

-- The test of a value that has its type already: what is true of it, the engine tells from a column's statistics, or
-- without a look into a text. As strict as the macros that read text, but for a zero byte.
create or replace macro is_text(value) as value > '';
create or replace macro is_quantity(number) as number >= 0 and number < 1000000000000;
create or replace macro is_whole_number(number) as number >= 0 and number < 1000000000000000000;
create or replace macro is_instant(instant) as
instant >= timestamptz '1900-01-01 00:00:00+00' and instant < timestamptz '9999-01-01 00:00:00+00';

create or replace macro within_years(instant) as case when is_instant(instant) then instant end;

-- Without an offset: UTC, which the session's time zone is.
create or replace macro as_instant(written) as
case
    when
        regexp_full_match(
            written,
            '[0-9]{4}-[0-9]{2}-[0-9]{2}'
            || '([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6}0*)?)?'
            || '(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)?)?'
        )
        then within_years(try_cast(written as timestamptz))
end;

-- Whether a value is faulty. `typed` is what a macro above made of `written`.
create or replace macro is_fault(written, typed, is_required) as
typed is null and (is_required or coalesce(written, '') <> '');

create or replace macro is_negative(typed) as coalesce(typed < 0, false);

-- What is wrong with it, or NULL.
create or replace macro fault_in(column_name, written, typed, is_required, expected) as
case
    when is_fault(written, typed, is_required)
        then
            case
                when coalesce(written, '') <> ''
                    then
                        {
                            'reason': 'bad_value',
                            'detail':
                            column_name || ' is ''' || left(written, 100) || '''; expected ' || expected
                        }
                else { 'reason': 'missing_value', 'detail': column_name || ' is empty; expected ' || expected }
            end
end;

create or replace macro sign_fault_in(column_name, written, typed, expected) as
case
    when is_negative(typed)
        then
            {
                'reason': 'negative_quantity',
                'detail': column_name || ' is ''' || left(written, 100) || '''; expected ' || expected
            }
end;
