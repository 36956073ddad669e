-- invoices_due: in place of the stage's, one invoice for each scenario, and those of the open cycles.
--
-- in:    main.invoices_due, scenarios
-- out:   invoice_id | the columns of the stage
-- grain: one row per scenario, whose name is its invoice_id and subscription_id, and per invoice of an open cycle
select due.* replace (scenarios.scenario as subscription_id, scenarios.scenario as invoice_id)
from main.invoices_due as due
inner join scenarios
    on
        due.subscription_id = scenarios.subscription_id
        and due.cycle_start = scenarios.cycle_start
        and due.kind = 'cycle'
union all
select *
from main.invoices_due
where kind = 'cycle' and not is_issued
